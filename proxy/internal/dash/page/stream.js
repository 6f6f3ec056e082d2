// The stream of events. A hidden page gives its place to others, and catches up when it is seen again.

const retryAfter = 3000; // ms

/** watch calls on.history, on.stats with what arrives and on.live with whether anything can. */
export function watch(on) {
  let source = null;
  let timer = 0;

  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    source = new EventSource("/events");
    source.addEventListener("history", (e) => on.history(JSON.parse(e.data)));
    source.addEventListener("stats", (e) => {
      on.live(true);
      on.stats(JSON.parse(e.data));
    });
    source.addEventListener("error", () => {
      on.live(false);
      // The browser itself tries again after a cut, but not after a refusal.
      if (source?.readyState === EventSource.CLOSED) timer = setTimeout(open, retryAfter);
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  if (!document.hidden) open();
}
