// Around the printed statements: the class, its main, and the environment.
import java.net.URI;
import java.net.http.*;
import java.time.Duration;
import org.json.JSONObject; // not in print

public class ClientsAndRoom {
public static void main(String[] arguments) throws Exception {
HttpClient client = HttpClient.newHttpClient();
String apiToken = System.getenv("API_TOKEN");
JSONObject body = new JSONObject()
.put("initiator_client", "OPTIONAL_INITIATOR_CLIENT_VALUE")
.put("receiver_client", "OPTIONAL_RECEIVER_CLIENT_VALUE")
.put("room", "OPTIONAL_ROOM_VALUE");
HttpRequest request = HttpRequest.newBuilder()
.uri(URI.create(System.getenv("API_URL") + "/api/v1/credentials/ice"))
.header("Authorization", "Bearer " + apiToken)
.header("Accept", "application/json")
.header("Content-Type", "application/json")
.POST(HttpRequest.BodyPublishers.ofString(body.toString()))
.build();
HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
System.out.println(response.body());
}
}
