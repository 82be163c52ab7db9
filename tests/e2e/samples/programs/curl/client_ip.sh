# shellcheck shell=sh
curl -X POST \
"$API_URL/api/v1/credentials/ice" \
-H "Authorization: Bearer $API_TOKEN" \
-H 'X-TURN-CLIENT-IP: 12.34.56.78' \
