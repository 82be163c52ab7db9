// Around the printed statements: the class, its main, and the environment.
import java.net.URI;
import java.net.http.*;
import java.time.Duration;
import org.json.JSONObject; // not in print

public class Region {
public static void main(String[] arguments) throws Exception {
HttpClient client = HttpClient.newHttpClient();
String apiToken = System.getenv("API_TOKEN");
JSONObject body = new JSONObject().put("preferred_region", "singapore");
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
