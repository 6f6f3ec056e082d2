package cmd

// Exit codes of all commands but health, which has its own column in the table.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2
	exitNotRunning   = 3
	exitInconclusive = 4
	exitMachine      = 5
	exitInterrupted  = 130
	exitTerminated   = 143
)

// codeMeaning is a row of the table of exit codes.
type codeMeaning struct {
	Code    int    `json:"code"`
	Meaning string `json:"meaning"`
	Health  string `json:"health,omitempty"` // what it means as the code of health, a monitoring plugin; "" if it has none of it
}

// exitCodes is the one table of exit codes: "erlmcp help exit-codes" prints it, and docs/operations.md has it.
var exitCodes = []codeMeaning{
	{exitOK, "done; status: all is up; load test: pass; doctor: the plan can work", "healthy"},
	{exitFailure, "failed; status: something is down; load test: fail; doctor: something to fix", "degraded: clients are served, but not as planned"},
	{exitUsage, "wrong usage or configuration", "down: no node is up, or clients get no answer"},
	{exitNotRunning, "the balancer or the cluster that is asked does not run", "unknown: it could not be found out, or wrong usage or configuration"},
	{exitInconclusive, "load test: inconclusive, because the generator and not the system was the limit", ""},
	{exitMachine, "this machine cannot do what is asked; erlmcp doctor says what it lacks", ""},
	{exitInterrupted, "ended by Ctrl-C (SIGINT)", "ended by Ctrl-C before the first round"},
	{exitTerminated, "ended by SIGTERM", "ended by SIGTERM before the first round"},
}
