// Around the printed statements: the class, its main, and the environment.
import java.net.URI;
import java.net.http.*;
import java.time.Duration;

public class ClientIp {
public static void main(String[] arguments) throws Exception {
HttpClient client = HttpClient.newHttpClient();
String apiToken = System.getenv("API_TOKEN");
HttpRequest request = HttpRequest.newBuilder()
.uri(URI.create(System.getenv("API_URL") + "/api/v1/credentials/ice"))
.header("Authorization", "Bearer " + apiToken)
.header("Content-Type", "application/json")
.header("X-TURN-CLIENT-IP", "12.34.56.78")
.POST(HttpRequest.BodyPublishers.noBody())
.timeout(Duration.ofSeconds(10))
.build();
HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
System.out.println(response.body());
}
}
