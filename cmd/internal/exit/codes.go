// Package exit knows how a command ends: with which code, with which words on the standard error, and when it is told to.
package exit

// Exit codes of all commands but health, which has its own column in the table.
const (
	OK           = 0
	Failure      = 1
	Usage        = 2
	NotRunning   = 3
	Inconclusive = 4
	Machine      = 5
	Interrupted  = 130
	Terminated   = 143
)

// Meaning is a row of the table of exit codes.
type Meaning struct {
	Code    int    `json:"code"`
	Meaning string `json:"meaning"`
	Health  string `json:"health,omitempty"` // what it means as the code of health, a monitoring plugin; "" if it has none of it
}

// Codes is the one table of exit codes: "erlmcp help exit-codes" prints it, and docs/operations.md has it.
var Codes = []Meaning{
	{OK, "done; status: all is up; load test: pass; doctor: the plan can work", "healthy"},
	{Failure, "failed; status: something is down; load test: fail; doctor: something to fix", "degraded: clients are served, but not as planned"},
	{Usage, "wrong usage or configuration", "down: no node is up, or clients get no answer"},
	{NotRunning, "the balancer or the cluster that is asked does not run", "unknown: it could not be found out, or wrong usage or configuration"},
	{Inconclusive, "load test: inconclusive, because the generator and not the system was the limit", ""},
	{Machine, "this machine cannot do what is asked; erlmcp doctor says what it lacks", ""},
	{Interrupted, "ended by Ctrl-C (SIGINT)", "ended by Ctrl-C before the first round"},
	{Terminated, "ended by SIGTERM", "ended by SIGTERM before the first round"},
}
