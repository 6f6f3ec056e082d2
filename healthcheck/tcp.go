package healthcheck

import "context"

// probeTCP connects, shakes hands where the target speaks TLS, and closes again.
func probeTCP(ctx context.Context, t Target) Result {
	a := begin(ctx, "tcp", t)
	defer func() { a.end() }()
	conn := a.dial(t.Address)
	if conn != nil && (t.TLS == nil || a.shakeHands(conn, t.TLS) != nil) {
		a.succeed(a.result.Latency)
	}
	return a.result
}
