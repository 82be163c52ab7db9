const fetch = require('node-fetch'); // Only if you're using Node.js
const url = `${process.env.API_URL}/credentials/ice`;
const bearerToken = process.env.API_TOKEN;
fetch(url, {
method: 'POST',
headers: {
'Authorization': `Bearer ${bearerToken}`,
'Content-Type': 'application/json'
},
body: new URLSearchParams({
// fixed_region: 'eu-central',
preffered_region: 'eu-central' // use one of both
})
})
.then(response => response.json()) // elided in print, as is the next line
.then(data => console.log('Response:', data))
