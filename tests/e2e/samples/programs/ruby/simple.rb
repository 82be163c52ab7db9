require 'httparty'
response = HTTParty.post(
"#{ENV['API_URL']}/api/v1/credentials/ice",
headers: {
"Authorization" => "Bearer #{ENV['API_TOKEN']}"
}
)
puts response.code # HTTP status code
puts response.body # Response body
