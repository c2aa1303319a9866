<?php
// SPDX-License-Identifier: Apache-2.0
// With the argument "curl" that library, else the streams of PHP itself.
$url = "https://" . getenv("HOST") . "/big";
$header = "Authorization: Bearer " . getenv("S1");
if (($argv[1] ?? "") === "curl") {
    $handle = curl_init($url);
    curl_setopt_array($handle, [CURLOPT_RETURNTRANSFER => true, CURLOPT_HTTPHEADER => [$header]]);
    $body = curl_exec($handle);
    $body !== false || exit(curl_error($handle) . "\n");
    echo curl_getinfo($handle, CURLINFO_RESPONSE_CODE), " ", strlen($body), "\n";
} else {
    $body = file_get_contents($url, false, stream_context_create(["http" => ["header" => $header]]));
    echo explode(" ", $http_response_header[0])[1], " ", strlen($body), "\n";
}
