package healthcheck

import "context"

// probeTCP connects and closes again.
func probeTCP(ctx context.Context, t Target) Result {
	a := begin(ctx, "tcp", t)
	defer func() { a.end() }()
	if a.dial(t.Address) != nil {
		a.succeed(a.result.Latency)
	}
	return a.result
}
