const fetch = require('node-fetch');
(async () => {
try {
const response = await fetch(`${process.env.API_URL}/api/v1/credentials/ice`, {
method: 'POST',
headers: {
'Authorization': `Bearer ${process.env.API_TOKEN}`,
'Content-Type': 'application/x-www-form-urlencoded'
},
body: new URLSearchParams({
initiator_client: 'OPTIONAL_INITIATOR_CLIENT_VALUE',
receiver_client: 'OPTIONAL_RECEIVER_CLIENT_VALUE',
room: 'OPTIONAL_TEAM_NAME_VALUE'
})
});
if (!response.ok) {
throw new Error(`Request failed with status ${response.status}`);
}
const data = await response.json();
console.log('Response:', data);
} catch (error) {
console.error('Error:', error.message);
}
})();
