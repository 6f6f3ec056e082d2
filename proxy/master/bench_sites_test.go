package master

import "github.com/erlmcp/erlmcp/proxy/internal/proxytest"

func init() {
	proxytest.BenchRoles["sites"] = proxytest.BenchSites
}
