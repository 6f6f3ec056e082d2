//go:build !linux

package prefork

const deathSignal = false

func surviveParent() {}
