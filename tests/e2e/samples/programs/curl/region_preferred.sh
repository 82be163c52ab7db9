# shellcheck shell=sh
curl -X POST \
"$API_URL/api/v1/credentials/ice" \
-H "Authorization: Bearer $API_TOKEN" \
-d 'preffered_region=eu-central'
