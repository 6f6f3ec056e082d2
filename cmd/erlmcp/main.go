// Command erlmcp runs, balances, watches and load-tests a cluster of MCP servers.
package main

import (
	"os"

	"github.com/erlmcp/erlmcp/cmd"
)

func main() {
	os.Exit(cmd.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
