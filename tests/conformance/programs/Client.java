import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Scanner;

/** Send the requests on standard input with the default HttpClient, which asks for HTTP/2 by Upgrade: h2c. */
public class Client {
    public static void main(String[] headers) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        Scanner lines = new Scanner(System.in, StandardCharsets.UTF_8);
        StringBuilder out = new StringBuilder();
        while (lines.hasNextLine()) {
            String[] parts = lines.nextLine().split("\t", -1); // method, URL, body in base64
            byte[] body = Base64.getDecoder().decode(parts[2]);
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(parts[1])).headers(headers)
                .method(parts[0], body.length == 0 ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(body));
            HttpResponse<byte[]> answer = client.send(request.build(), BodyHandlers.ofByteArray());
            String type = answer.headers().firstValue("content-type").orElse("");
            out.append(answer.statusCode()).append('\t').append(type).append('\t')
                .append(Base64.getEncoder().encodeToString(answer.body())).append('\n');
        }
        System.out.print(out);
    }
}
