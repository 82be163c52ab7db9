// Around the printed statements: the class, its main, and the environment.
import java.net.http.*;
import java.net.URI;

public class Simple {
public static void main(String[] arguments) throws Exception {
HttpClient client = HttpClient.newHttpClient();
String apiToken = System.getenv("API_TOKEN");
HttpRequest request = HttpRequest.newBuilder()
.uri(URI.create(System.getenv("API_URL") + "/api/v1/credentials/ice"))
.header("Authorization", "Bearer " + apiToken)
.header("Accept", "application/json")
.header("Content-Type", "application/json")
.POST(HttpRequest.BodyPublishers.noBody())
.build();
HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
System.out.println(response.body());
}
}
