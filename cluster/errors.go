package cluster

import (
	"net/http"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/control"
)

// StartError says that a node did not become ready.
type StartError struct {
	Node string
	How  string // it ended: "exited with status 1"
	Log  string // its last lines, indented; may be empty
}

func (e *StartError) Error() string {
	text := "node " + e.Node + " failed to start: it " + e.How
	if e.Log != "" {
		text += "; its log ends with\n" + e.Log
	}
	return text
}

// errStopping refuses what comes after the cluster's end has been asked for.
var errStopping = &control.Error{
	Status: http.StatusConflict, Code: codeStopping,
	Message: "the cluster is being stopped", Advice: "wait until it has ended, then start it again",
}

// errStopped is the error of a start that had begun before that.
var errStopped = &control.Error{
	Status:  http.StatusConflict,
	Message: "the cluster was stopped before its nodes were ready",
}

func signalName(s syscall.Signal) string { return unix.SignalName(s) }
