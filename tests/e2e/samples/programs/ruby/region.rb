require 'httparty'
url = "#{ENV['API_URL']}/credentials/ice"
bearer_token = ENV['API_TOKEN']
response = HTTParty.post(url, {
headers: {
'Authorization' => "Bearer #{bearer_token}",
'Content-Type' => 'application/json'
},
body: {
preffered_region: 'eu-central',
# fixed_region: 'eu-central', # use one of both
}
})
puts response.body
