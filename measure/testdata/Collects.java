// Collects garbage once for each byte that it reads, and says so.
// A Java runtime has no compiler: Collects.class is this, by javac --release 8.
public class Collects {
    static byte[][] kept = new byte[8][];

    public static void main(String[] args) throws java.io.IOException {
        for (int i = 0; System.in.read() >= 0; i++) {
            kept[i % kept.length] = new byte[1 << 20];
            System.gc();
            System.out.print('.');
            System.out.flush();
        }
    }
}
