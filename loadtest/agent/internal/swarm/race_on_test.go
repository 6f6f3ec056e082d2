//go:build race

package swarm

// raceEnabled: sync.Pool drops at random under the race detector, so what
// encoding/json takes from a pool is allocated at times.
const raceEnabled = true
