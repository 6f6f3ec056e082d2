// Package guardtest ends what tests have started when the tests end, however they end.
//
//	the process of the test       what go test starts, and maybe kills
//	└─ its guardian               adopts all orphans below; kills all when the one above has gone
//	   └─ the tests               their exit code, output and signals are those of the first
//	      └─ daemons, nodes, …    also those in sessions of their own, and those without environment
//
// Where the kernel does not give orphans to a guardian (macOS), it does nothing, nor does it under a debugger.
package guardtest

// Variable says to a copy of the binary of a test what it is. Whatever has it in its environment, and not empty, runs
// below a guardian.
const Variable = "GUARDTEST_ROLE"
