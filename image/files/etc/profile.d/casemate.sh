# Which roots programs trust that do not ask the system, for login shells that were started without
# the sandbox's environment (src/init/env.c). What is set already stays.
: "${SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt}"
: "${SSL_CERT_DIR=/etc/ssl/certs}"
: "${CURL_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt}"
: "${GIT_SSL_CAINFO=/etc/ssl/certs/ca-certificates.crt}"
: "${REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt}"
: "${PIP_CERT=/etc/ssl/certs/ca-certificates.crt}"
: "${HTTPLIB2_CA_CERTS=/etc/ssl/certs/ca-certificates.crt}"
: "${AWS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt}"
: "${CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE=/etc/ssl/certs/ca-certificates.crt}"
: "${CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt}"
: "${GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/etc/ssl/certs/ca-certificates.crt}"
: "${npm_config_cafile=/etc/ssl/certs/ca-certificates.crt}"
: "${YARN_HTTPS_CA_FILE_PATH=/etc/ssl/certs/ca-certificates.crt}"
: "${NODE_EXTRA_CA_CERTS=/etc/casemate/ca.pem}"
: "${NODE_USE_SYSTEM_CA=1}"
: "${DENO_CERT=/etc/casemate/ca.pem}"
: "${DENO_TLS_CA_STORE=system,mozilla}"
export SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE GIT_SSL_CAINFO REQUESTS_CA_BUNDLE PIP_CERT \
    HTTPLIB2_CA_CERTS AWS_CA_BUNDLE CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE CARGO_HTTP_CAINFO \
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH npm_config_cafile YARN_HTTPS_CA_FILE_PATH \
    NODE_EXTRA_CA_CERTS NODE_USE_SYSTEM_CA DENO_CERT DENO_TLS_CA_STORE
