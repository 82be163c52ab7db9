require 'httparty'
response = HTTParty.post(
"#{ENV['API_URL']}/api/v1/credentials/ice",
headers: {
"Authorization" => "Bearer #{ENV['API_TOKEN']}"
},
body: {
initiator_client: "OPTIONAL_INITIATOR_CLIENT_VALUE",
receiver_client: "OPTIONAL_RECEIVER_CLIENT_VALUE",
room: "OPTIONAL_TEAM_NAME_VALUE"
}
)
puts response.code # HTTP status code
puts response.body # Response body
