package swarm

// deadline is when an exchange should be over.
type deadline struct {
	at       int64
	of       overdue
	exchange uint32
}

// overdue is who has an exchange. It is told at its deadline, over or not.
type overdue interface {
	overdue(exchange uint32)
}

// deadlines is a queue. All time-outs of an agent are equally long, so deadlines come in order; one
// that proves unnecessary stays until its time.
type deadlines struct {
	entries []deadline
	head    int
}

func (q *deadlines) push(d deadline) {
	if len(q.entries) == cap(q.entries) && q.head > len(q.entries)/2 {
		n := copy(q.entries, q.entries[q.head:])
		q.entries, q.head = q.entries[:n], 0
	}
	q.entries = append(q.entries, d)
}

// expired takes the first deadline off the queue if its time has come.
func (q *deadlines) expired(now int64) (deadline, bool) {
	if q.head == len(q.entries) {
		q.entries, q.head = q.entries[:0], 0
		return deadline{}, false
	}
	d := q.entries[q.head]
	if d.at > now {
		return deadline{}, false
	}
	q.head++
	return d, true
}
