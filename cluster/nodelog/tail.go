package nodelog

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/tempo"
)

// Log is the log of a node.
type Log struct {
	Node string
	Path string // of the file being written
}

// AllLines is more lines than logs have.
const AllLines = math.MaxInt

// TailOptions say what [Tail] prints.
type TailOptions struct {
	Logs   func(context.Context) ([]Log, error) // which there are; asked again now and then while following
	Lines  int                                  // of each log, the last ones
	Follow bool                                 // also what is added
	Filter Filter
}

const (
	tailPause = 100 * time.Millisecond
	tailShare = 1 << 20 // bytes of one log printed before it is the next one's turn
	tailLook  = time.Second
)

// Tail prints the last lines of each log, and with Follow what is added, also of nodes that are added, until ctx ends
// or print fails. Rotated files are read as well, and followed through: no line is left out unless rotation
// deletes it first. A log that is missing is empty. print gets lines without newline, from one
// goroutine; a line is valid during the call only.
func Tail(ctx context.Context, o TailOptions, print func(node string, line []byte) error) error {
	logs, err := o.Logs(ctx)
	if err != nil {
		return err
	}
	t := &tail{since: time.Now(), print: print}
	defer t.close()
	for _, l := range logs {
		t.add(l, o.Lines, o.Filter)
	}
	looking, stop := context.WithCancel(ctx)
	var looks sync.WaitGroup
	changes := make(chan []Log)
	if o.Follow {
		looks.Go(func() { look(looking, o.Logs, logs, changes) })
	}
	defer looks.Wait()
	defer stop()
	ticker := time.NewTicker(tailPause)
	defer ticker.Stop()
	for {
		more, err := t.poll()
		if err != nil {
			return err
		}
		switch {
		case more && ctx.Err() == nil:
		case !o.Follow:
			return t.flush()
		default:
			select {
			case <-ticker.C:
			case logs := <-changes:
				t.follow(logs, o.Filter)
			case <-ctx.Done():
				return t.flush()
			}
		}
	}
}

// look tells of other logs than those known, until ctx ends. What cannot be told now may be told later.
func look(ctx context.Context, which func(context.Context) ([]Log, error), known []Log, changes chan<- []Log) {
	for range tempo.Every(ctx, tailLook) {
		logs, err := which(ctx)
		if err != nil || slices.Equal(logs, known) {
			continue
		}
		select {
		case changes <- logs:
			known = logs
		case <-ctx.Done():
			return
		}
	}
}

// tail is the logs that are printed.
type tail struct {
	since time.Time // the logs are these since then
	print func(node string, line []byte) error
	logs  []*tailed
}

// tailed is one of them.
type tailed struct {
	Log
	*follower
	sieve *sieve
	gone  bool // the node is not of the cluster any more
}

func (t *tail) add(l Log, lines int, filter Filter) {
	s := &sieve{filter: filter, now: time.Now(), print: func(line []byte) error { return t.print(l.Node, line) }}
	t.logs = append(t.logs, &tailed{Log: l, follower: newFollower(l.Path, lines, s.line), sieve: s})
}

// follow goes on with these logs. Of those that are new, what was written before the last change is not printed.
func (t *tail) follow(logs []Log, filter Filter) {
	if filter.Since.Before(t.since) {
		filter.Since = t.since
	}
	t.since = time.Now()
	for _, l := range logs {
		if !slices.ContainsFunc(t.logs, func(known *tailed) bool { return known.Log == l }) {
			t.add(l, AllLines, filter)
		}
	}
	for _, known := range t.logs {
		known.gone = !slices.Contains(logs, known.Log)
	}
}

// poll prints what is new, and reports whether there is more to be had at once.
func (t *tail) poll() (more bool, err error) {
	for _, l := range t.logs {
		unread, err := l.poll(tailShare)
		if err != nil {
			return false, err
		}
		if !unread && !l.sieve.live {
			if err := l.sieve.goLive(); err != nil {
				return false, err
			}
		}
		if !unread && l.gone {
			err := l.flush()
			l.close()
			if err != nil {
				return false, err
			}
		}
		more = more || unread
	}
	t.logs = slices.DeleteFunc(t.logs, func(l *tailed) bool { return l.gone && l.file == nil })
	return more, nil
}

// flush prints lines that have no end yet.
func (t *tail) flush() error {
	for _, l := range t.logs {
		if err := l.flush(); err != nil {
			return err
		}
	}
	return nil
}

func (t *tail) close() {
	for _, l := range t.logs {
		l.close()
	}
}
