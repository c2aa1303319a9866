// SPDX-License-Identifier: Apache-2.0
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import javax.net.ssl.HttpsURLConnection;

/** With an argument the old client, without one the new. */
public class Fetch {
    public static void main(String[] args) throws Exception {
        URI uri = URI.create("https://" + System.getenv("HOST") + "/big");
        String key = "Bearer " + System.getenv("S1");
        if (args.length > 0) {
            HttpsURLConnection connection = (HttpsURLConnection) uri.toURL().openConnection();
            connection.setRequestProperty("Authorization", key);
            int size = connection.getInputStream().readAllBytes().length;
            System.out.println(connection.getResponseCode() + " " + size);
            return;
        }
        HttpRequest request = HttpRequest.newBuilder(uri).header("Authorization", key).build();
        HttpResponse<byte[]> answer =
            HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofByteArray());
        System.out.println(answer.statusCode() + " " + answer.body().length);
    }
}
