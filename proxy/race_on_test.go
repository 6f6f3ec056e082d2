//go:build race

package proxy

// raceFactor is how much more memory may be used under the race detector.
const raceFactor = 6
