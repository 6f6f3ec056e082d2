package cluster

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
)

// NodeLog is the log of a node.
type NodeLog struct {
	Node string
	Path string // of the file being written
}

// NodeLogs returns the logs of the named nodes (none means all): those of the cluster that runs in
// stateDir, else those that spec says.
func NodeLogs(ctx context.Context, stateDir string, spec Spec, names []string) ([]NodeLog, error) {
	dir := LogDir(stateDir, spec)
	running, err := Connect(stateDir).Spec(ctx)
	switch {
	case err == nil:
		spec, dir = running, LogDir(stateDir, running)
	case spec.Logs.Dir == "" && errors.As(err, new(*control.DirError)): // which the logs are in
		return nil, err
	}
	nodes, err := pick(spec.Nodes, names)
	if err != nil {
		return nil, err
	}
	logs := make([]NodeLog, len(nodes))
	for i, n := range nodes {
		logs[i] = NodeLog{n.Name, logPath(dir, n.Name)}
	}
	return logs, nil
}

// AllLines is more lines than logs have.
const AllLines = math.MaxInt

const (
	tailPause = 100 * time.Millisecond
	tailShare = 1 << 20 // bytes of one log printed before it is the next one's turn
)

// Tail prints the last lines of each log, and with follow what is added, until ctx ends or print
// fails. Rotated files are read as well, and followed through: no line is left out unless rotation
// deletes it first. A log that is missing is empty. print gets lines without newline, from one
// goroutine; a line is valid during the call only.
func Tail(
	ctx context.Context, logs []NodeLog, lines int, follow bool,
	print func(node string, line []byte) error,
) error {
	followers := make([]*follower, len(logs))
	for i, l := range logs {
		followers[i] = newFollower(l.Path, lines, func(line []byte) error { return print(l.Node, line) })
	}
	defer func() {
		for _, f := range followers {
			f.close()
		}
	}()
	ticker := time.NewTicker(tailPause)
	defer ticker.Stop()
	for {
		more := false
		for _, f := range followers {
			unread, err := f.poll(tailShare)
			if err != nil {
				return err
			}
			more = more || unread
		}
		switch {
		case more && ctx.Err() == nil:
		case !follow:
			return flushAll(followers)
		default:
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return flushAll(followers)
			}
		}
	}
}

// flushAll prints lines that have no end yet.
func flushAll(followers []*follower) error {
	for _, f := range followers {
		if err := f.flush(); err != nil {
			return err
		}
	}
	return nil
}
