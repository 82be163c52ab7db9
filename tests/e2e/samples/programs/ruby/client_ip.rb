require 'httparty'
url = "#{ENV['API_URL']}/credentials/ice"
bearer_token = ENV['API_TOKEN']
response = HTTParty.post(url, {
headers: {
'Authorization' => "Bearer #{bearer_token}",
'Content-Type' => 'application/json', # the comma is missing in print
'X-TURN-CLIENT-IP' => '12.34.56.78'
}
})
puts response.body
