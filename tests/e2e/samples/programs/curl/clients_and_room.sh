# shellcheck shell=sh
curl -X POST \
"$API_URL/api/v1/credentials/ice" \
-H "Authorization: Bearer $API_TOKEN" \
-d 'initiator_client=OPTIONAL_INITIATOR_CLIENT_VALUE' \
-d 'receiver_client=OPTIONAL_RECEIVER_CLIENT_VALUE' \
-d 'room=OPTIONAL_ROOM_NAME_VALUE'
