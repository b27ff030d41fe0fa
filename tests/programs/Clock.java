/** What Java tells of time: the wall clock in seconds, and whether a sleep of a fifth of a second was one. */
class Clock {
    public static void main(String[] arguments) throws Exception {
        long wall = java.time.Instant.now().getEpochSecond();
        long began = System.nanoTime();
        Thread.sleep(200);
        System.out.println(wall + " " + (System.nanoTime() - began >= 200_000_000L));
    }
}
