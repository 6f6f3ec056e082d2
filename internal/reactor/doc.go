// Package reactor runs many connections on one thread: a readiness loop over
// epoll (Linux) or kqueue (macOS, FreeBSD).
//
//	          ┌──────────────── one turn of a Loop ────────────────┐
//	wait ──▶  │ events ▶ resumed reads ▶ timers ▶ posted ▶ closing │ ──▶ wait
//	          └────────────────────────────────────────────────────┘
//
// A Loop is one OS thread. Everything but Loop.Post and Loop.Stop is called on
// it, handlers included; nothing here locks, and no event allocates.
//
// A Conn is a plain struct that belongs to one loop, meant to be embedded by
// value in the state it serves. It holds a buffer only while bytes are in
// hand: input its handler has not consumed, output the kernel has not taken.
//
// Back-pressure is the handler's: whoever copies from a to b stops reading a
// (Conn.Pause) while b has something Pending, and goes on (Conn.Resume) in
// OnDrained. At most one read, Options.ScratchBytes, is then in hand.
//
// A Layer (AttachLayered) turns what is on the wire into what the handler sees,
// and back: TLS. It holds no buffer of the loop's either.
//
// A closed descriptor is given back to the kernel at the end of the turn, so a
// number seen in one batch of events always means the same connection.
package reactor
