import jakarta.servlet.ServletContextEvent;
import jakarta.servlet.ServletContextListener;
import jakarta.servlet.annotation.WebListener;
import jakarta.websocket.CloseReason;
import jakarta.websocket.CloseReason.CloseCodes;
import jakarta.websocket.DecodeException;
import jakarta.websocket.Decoder;
import jakarta.websocket.EncodeException;
import jakarta.websocket.Encoder;
import jakarta.websocket.OnClose;
import jakarta.websocket.OnError;
import jakarta.websocket.OnMessage;
import jakarta.websocket.OnOpen;
import jakarta.websocket.PongMessage;
import jakarta.websocket.RemoteEndpoint;
import jakarta.websocket.Session;
import jakarta.websocket.server.PathParam;
import jakarta.websocket.server.ServerEndpoint;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** The endpoints that Tomcat serves. endpoints.rs has the same ones in Rust, in the same order. */
public final class Endpoints {
    // ---- what handlers saw, for a second connection to ask ----

    private static final Map<String, BlockingQueue<String>> NOTES = new ConcurrentHashMap<>();

    private static BlockingQueue<String> notes(String script) {
        return NOTES.computeIfAbsent(script, name -> new LinkedBlockingQueue<>());
    }

    private static void noteClose(String script, CloseReason reason) {
        notes(script).add("close " + reason.getCloseCode().getCode() + " " + reason.getReasonPhrase());
    }

    private static void noteError(String script, Throwable error) {
        String note = "error of the container";
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof DecodeException) {
                note = "error of decoding";
            } else if (cause instanceof EncodeException) {
                note = "error of encoding";
            } else if (String.valueOf(cause.getMessage()).startsWith("so: ")) {
                note = "error of the application, " + cause.getMessage();
            }
        }
        notes(script).add(note);
    }

    @ServerEndpoint("/notes/{script}")
    public static class Notes {
        @OnMessage
        public String next(String wanted, @PathParam("script") String script) throws InterruptedException {
            String note = notes(script).poll(Long.parseLong(wanted), TimeUnit.MILLISECONDS);
            return note == null ? "nothing more" : note;
        }
    }

    /** Notes all that happens but messages. */
    public abstract static class Noting {
        @OnOpen
        public void open(Session session, @PathParam("script") String script) throws Exception {
            notes(script).add("open");
        }

        @OnClose
        public void close(Session session, CloseReason reason, @PathParam("script") String script) throws Exception {
            noteClose(script, reason);
        }

        @OnError
        public void error(Throwable error, @PathParam("script") String script) throws Exception {
            noteError(script, error);
        }
    }

    // ---- messages ----

    @ServerEndpoint("/echo/{script}")
    public static class Echo extends Noting {
        @OnMessage(maxMessageSize = 131072)
        public String text(String message) {
            return message;
        }

        @OnMessage(maxMessageSize = 131072)
        public ByteBuffer binary(ByteBuffer data) {
            return data;
        }
    }

    /** Tomcat needs no switch for compression; ours does. */
    @ServerEndpoint("/compressed/{script}")
    public static class Compressed extends Noting {
        @OnMessage(maxMessageSize = 131072)
        public String text(String message) {
            return message;
        }
    }

    /** Tomcat takes contexts over where nobody objects; ours where it is told to. */
    @ServerEndpoint("/keeping/{script}")
    public static class Keeping extends Noting {
        @OnMessage(maxMessageSize = 131072)
        public String text(String message) {
            return message;
        }
    }

    /** Text and binary, and nothing that is told of errors. */
    @ServerEndpoint("/bare/{script}")
    public static class Bare {
        @OnOpen
        public void open(@PathParam("script") String script) {
            notes(script).add("open");
        }

        @OnMessage
        public String text(String message) {
            return message;
        }

        @OnMessage
        public ByteBuffer binary(ByteBuffer data) {
            return data;
        }

        @OnClose
        public void close(CloseReason reason, @PathParam("script") String script) {
            noteClose(script, reason);
        }
    }

    /** Text alone, with no limit of its own. */
    @ServerEndpoint("/text/{script}")
    public static class TextAlone extends Noting {
        @OnMessage
        public String text(String message) {
            return message;
        }
    }

    @ServerEndpoint("/parts/{script}")
    public static class Parts extends Noting {
        @OnMessage
        public String text(String part, boolean last) {
            return part + "(" + last + ")";
        }

        @OnMessage
        public byte[] binary(byte[] part, boolean last) {
            String text = new String(part, StandardCharsets.ISO_8859_1) + "(" + last + ")";
            return text.getBytes(StandardCharsets.ISO_8859_1);
        }
    }

    @ServerEndpoint("/five/{script}")
    public static class Five extends Noting {
        @OnMessage(maxMessageSize = 5)
        public String text(String message) {
            return message;
        }

        @OnMessage(maxMessageSize = 5)
        public byte[] binary(byte[] data) {
            return data;
        }
    }

    /** Binary for text, text for binary, and sometimes nothing. */
    @ServerEndpoint("/other/{script}")
    public static class Other extends Noting {
        @OnMessage
        public byte[] text(String message) {
            return message.equals("nothing") ? null : message.getBytes(StandardCharsets.UTF_8);
        }

        @OnMessage
        public String binary(byte[] data) {
            return data.length == 1 ? null : new String(data, StandardCharsets.UTF_8);
        }
    }

    @ServerEndpoint("/pongs/{script}")
    public static class Pongs extends Noting {
        @OnMessage
        public String pong(PongMessage pong) {
            return "pong " + StandardCharsets.UTF_8.decode(pong.getApplicationData());
        }

        @OnMessage
        public String text(String message, Session session) throws IOException {
            String[] words = message.split(" ");
            ByteBuffer data = ByteBuffer.wrap(words[1].getBytes(StandardCharsets.UTF_8));
            try {
                if (words[0].equals("ping")) {
                    session.getBasicRemote().sendPing(data);
                } else {
                    session.getBasicRemote().sendPong(data);
                }
                return null;
            } catch (IllegalArgumentException refused) {
                return "refused";
            }
        }
    }

    // ---- values ----

    @ServerEndpoint("/byte/{script}")
    public static class ByteValue extends Noting {
        @OnMessage
        public byte value(byte value) {
            return value;
        }
    }

    @ServerEndpoint("/short/{script}")
    public static class ShortValue extends Noting {
        @OnMessage
        public short value(short value) {
            return value;
        }
    }

    @ServerEndpoint("/int/{script}")
    public static class IntValue extends Noting {
        @OnMessage
        public int value(int value) {
            return value;
        }
    }

    @ServerEndpoint("/long/{script}")
    public static class LongValue extends Noting {
        @OnMessage
        public long value(long value) {
            return value;
        }
    }

    @ServerEndpoint("/float/{script}")
    public static class FloatValue extends Noting {
        @OnMessage
        public float value(float value) {
            return value;
        }
    }

    @ServerEndpoint("/double/{script}")
    public static class DoubleValue extends Noting {
        @OnMessage
        public double value(double value) {
            return value;
        }
    }

    @ServerEndpoint("/boolean/{script}")
    public static class BooleanValue extends Noting {
        @OnMessage
        public boolean value(boolean value) {
            return value;
        }
    }

    @ServerEndpoint("/char/{script}")
    public static class CharValue extends Noting {
        @OnMessage
        public char value(char value) {
            return value;
        }
    }

    public record Point(int x, int y) {}

    public static class PointDecoder implements Decoder.Text<Point> {
        @Override
        public boolean willDecode(String text) {
            return true;
        }

        @Override
        public Point decode(String text) throws DecodeException {
            try {
                String[] parts = text.split(",", 2);
                return new Point(Integer.parseInt(parts[0]), Integer.parseInt(parts[1]));
            } catch (RuntimeException error) {
                throw new DecodeException(text, "no point", error);
            }
        }
    }

    /** There are no points with x = 13. */
    public static class PointEncoder implements Encoder.Text<Point> {
        @Override
        public String encode(Point point) throws EncodeException {
            if (point.x() == 13) {
                throw new EncodeException(point, "an unlucky point");
            }
            return point.x() + "," + point.y();
        }
    }

    /** Mirrors points; for binary, sends one that can be sent and one that cannot. */
    @ServerEndpoint(value = "/points/{script}", decoders = PointDecoder.class, encoders = PointEncoder.class)
    public static class Points extends Noting {
        @OnMessage
        public Point text(Point point) {
            return new Point(point.y(), point.x());
        }

        @OnMessage
        public String binary(byte[] data, Session session) throws IOException, EncodeException {
            session.getBasicRemote().sendObject(new Point(3, 4));
            try {
                session.getBasicRemote().sendObject(new Point(13, 4));
                return "sent";
            } catch (EncodeException refused) {
                return "refused";
            }
        }
    }

    // ---- the request ----

    @ServerEndpoint("/params/{script}/{number}/{flag}")
    public static class Params extends Noting {
        @OnMessage
        public String text(String message, @PathParam("number") int number, @PathParam("flag") boolean flag) {
            return message + " " + number + " " + flag;
        }
    }

    @ServerEndpoint("/word/{script}/{word}")
    public static class Word extends Noting {
        @OnMessage
        public String text(String message, @PathParam("word") String word, @PathParam("script") String script) {
            return message + " " + word;
        }
    }

    @ServerEndpoint(value = "/request/{script}", subprotocols = {"chat.v2", "chat.v1"})
    public static class Request extends Noting {
        @OnMessage
        public String text(String what, Session session) {
            switch (what) {
                case "uri":
                    return session.getRequestURI().toString();
                case "query":
                    return session.getQueryString() == null ? "none" : session.getQueryString();
                case "version":
                    return session.getProtocolVersion();
                case "subprotocol":
                    return session.getNegotiatedSubprotocol().isEmpty() ? "none" : session.getNegotiatedSubprotocol();
                case "secure":
                    return String.valueOf(session.isSecure());
                case "path":
                    return String.join(" ", new TreeMap<>(session.getPathParameters()).keySet());
                default:
                    List<String> values = session.getRequestParameterMap().get(what);
                    return values == null ? "none" : String.join(", ", values);
            }
        }
    }

    @ServerEndpoint("/match/a")
    public static class MatchA {
        @OnMessage
        public String text(String message) {
            return "/a";
        }
    }

    @ServerEndpoint("/match/{x}")
    public static class MatchX {
        @OnMessage
        public String text(String message, @PathParam("x") String x) {
            return "/{x} x=" + x;
        }
    }

    @ServerEndpoint("/match/a/c")
    public static class MatchAC {
        @OnMessage
        public String text(String message) {
            return "/a/c";
        }
    }

    @ServerEndpoint("/match/a/{y}")
    public static class MatchAY {
        @OnMessage
        public String text(String message, @PathParam("y") String y) {
            return "/a/{y} y=" + y;
        }
    }

    @ServerEndpoint("/match/{x}/c")
    public static class MatchXC {
        @OnMessage
        public String text(String message, @PathParam("x") String x) {
            return "/{x}/c x=" + x;
        }
    }

    @ServerEndpoint("/match/{x}/{y}")
    public static class MatchXY {
        @OnMessage
        public String text(String message, @PathParam("x") String x, @PathParam("y") String y) {
            return "/{x}/{y} x=" + x + " y=" + y;
        }
    }

    // ---- sending ----

    @ServerEndpoint("/sends/{script}")
    public static class Sends extends Noting {
        @OnMessage
        public String text(String what, Session session) throws Exception {
            RemoteEndpoint.Basic remote = session.getBasicRemote();
            switch (what) {
                case "basic":
                    remote.sendText("one");
                    remote.sendBinary(ByteBuffer.wrap(new byte[] {2}));
                    return "three";
                case "async":
                    session.getAsyncRemote().sendText("one").get();
                    session.getAsyncRemote().sendText("two").get();
                    return "three";
                case "objects":
                    for (Object object : new Object[] {(byte) -100, (short) -101, -102, -103L, false, 'j'}) {
                        remote.sendObject(object);
                    }
                    return null;
                case "floats":
                    remote.sendObject(-104.5f);
                    remote.sendObject(-105.0);
                    return null;
                case "batch":
                    remote.setBatchingAllowed(true);
                    remote.sendText("one");
                    remote.sendText("two");
                    remote.flushBatch();
                    remote.setBatchingAllowed(false);
                    return null;
                default: // "batch and close"
                    remote.setBatchingAllowed(true);
                    remote.sendText("one");
                    remote.sendText("two");
                    session.close();
                    return null;
            }
        }
    }

    @ServerEndpoint("/welcome/{script}")
    public static class Welcome extends Noting {
        @Override
        @OnOpen
        public void open(Session session, @PathParam("script") String script) throws Exception {
            notes(script).add("open");
            session.getBasicRemote().sendText("welcome");
        }

        @OnMessage
        public String text(String message) {
            return message;
        }

        @Override
        @OnClose
        public void close(Session session, CloseReason reason, @PathParam("script") String script) throws Exception {
            notes(script).add(session.isOpen() ? "open in on_close" : "not open in on_close");
            try {
                session.getBasicRemote().sendText("farewell");
                notes(script).add("sent");
            } catch (Exception refused) {
                notes(script).add("refused");
            }
            noteClose(script, reason);
        }
    }

    @ServerEndpoint("/all/{script}")
    public static class All extends Noting {
        @OnMessage
        public void text(String message, Session session) throws IOException {
            for (Session open : session.getOpenSessions()) {
                open.getBasicRemote().sendText(message);
            }
        }

        @OnMessage
        public String count(byte[] data, Session session) {
            return String.valueOf(session.getOpenSessions().size());
        }
    }

    @ServerEndpoint("/properties/{script}")
    public static class Properties extends Noting {
        @OnMessage
        public String text(String message, Session session) {
            Object before = session.getUserProperties().put("message", message);
            return before == null ? "none" : before.toString();
        }
    }

    // ---- ends ----

    @ServerEndpoint("/close/{script}")
    public static class Close extends Noting {
        @OnMessage
        public String text(String message, Session session) throws IOException {
            String[] words = message.split(" ", 2);
            if (words[0].equals("plain")) {
                session.close();
                return null;
            }
            CloseReason reason;
            try {
                CloseReason.CloseCode code = CloseCodes.getCloseCode(Integer.parseInt(words[0]));
                reason = new CloseReason(code, words.length == 1 ? null : words[1]);
            } catch (IllegalArgumentException refused) {
                return "refused";
            }
            session.close(reason);
            return null;
        }
    }

    /** Closes, then closes otherwise, then says something. */
    @ServerEndpoint("/returns/{script}")
    public static class Returns extends Noting {
        @OnMessage
        public String text(String message, Session session, @PathParam("script") String script) throws IOException {
            session.close(new CloseReason(CloseCodes.getCloseCode(4001), "so: first"));
            session.close(new CloseReason(CloseCodes.getCloseCode(4002), "so: second"));
            notes(script).add(session.isOpen() ? "still open in its handler" : "no longer open in its handler");
            return message;
        }
    }

    @ServerEndpoint("/idle/{script}")
    public static class Idle extends Noting {
        @Override
        @OnOpen
        public void open(Session session, @PathParam("script") String script) throws Exception {
            notes(script).add("open");
            session.setMaxIdleTimeout(200);
        }
    }

    @ServerEndpoint("/fails/{script}")
    public static class Fails extends Noting {
        @OnMessage
        public String text(String message) {
            if (message.equals("fail")) {
                throw new IllegalStateException("so: it fails");
            }
            return message;
        }
    }

    /** As before, without an error handler. */
    @ServerEndpoint("/failsalone/{script}")
    public static class FailsAlone {
        @OnOpen
        public void open(@PathParam("script") String script) {
            notes(script).add("open");
        }

        @OnMessage
        public String text(String message) {
            if (message.equals("fail")) {
                throw new IllegalStateException("so: it fails");
            }
            return message;
        }

        @OnMessage
        public String binary(byte[] data) {
            return "binary";
        }

        @OnClose
        public void close(CloseReason reason, @PathParam("script") String script) {
            noteClose(script, reason);
        }
    }

    @ServerEndpoint("/intalone/{script}")
    public static class IntAlone {
        @OnOpen
        public void open(@PathParam("script") String script) {
            notes(script).add("open");
        }

        @OnMessage
        public int value(int value) {
            return value;
        }

        @OnClose
        public void close(CloseReason reason, @PathParam("script") String script) {
            noteClose(script, reason);
        }
    }

    /** An AssertionError here, a panic there. */
    @ServerEndpoint("/panics/{script}")
    public static class Panics extends Noting {
        @OnMessage
        public String text(String message) {
            throw new AssertionError("so: it panics");
        }
    }

    @ServerEndpoint("/failsopen/{script}")
    public static class FailsOpen extends Noting {
        @Override
        @OnOpen
        public void open(Session session, @PathParam("script") String script) throws Exception {
            notes(script).add("open");
            throw new IllegalStateException("so: it does not open");
        }

        @OnMessage
        public String text(String message) {
            return message;
        }
    }

    @ServerEndpoint("/failsclose/{script}")
    public static class FailsClose extends Noting {
        @Override
        @OnClose
        public void close(Session session, CloseReason reason, @PathParam("script") String script) throws Exception {
            noteClose(script, reason);
            throw new IllegalStateException("so: it does not close");
        }
    }

    @ServerEndpoint("/failserror/{script}")
    public static class FailsError extends Noting {
        @OnMessage
        public String text(String message) {
            if (message.equals("fail")) {
                throw new IllegalStateException("so: it fails");
            }
            return message;
        }

        @Override
        @OnError
        public void error(Throwable error, @PathParam("script") String script) throws Exception {
            noteError(script, error);
            throw new IllegalStateException("so: it fails at failing");
        }
    }

    /** Ends Tomcat with the test, however that ends: then the pipe to its input is closed. */
    @WebListener
    public static class EndsWithTheTest implements ServletContextListener {
        @Override
        public void contextInitialized(ServletContextEvent event) {
            Thread listening = new Thread(() -> {
                try {
                    while (System.in.read() >= 0) {}
                } catch (IOException gone) {
                    // an end as well
                }
                Runtime.getRuntime().halt(0);
            }, "ends with the test");
            listening.setDaemon(true);
            listening.start();
        }
    }
}
