const fetch = require('node-fetch'); // Only if you're using Node.js
const url = `${process.env.API_URL}/credentials/ice`;
const bearerToken = process.env.API_TOKEN;
fetch(url, {
method: 'POST',
headers: {
'Authorization': `Bearer ${bearerToken}`,
'Content-Type': 'application/json', // the comma is missing in print
'X-TURN-CLIENT-IP': '12.34.56.78'
}
})
.then(response => response.json()) // elided in print, as is the next line
.then(data => console.log('Response:', data))
