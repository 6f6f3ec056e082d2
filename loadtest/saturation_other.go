//go:build !linux

package loadtest

// readMachineLoad knows nothing here.
func readMachineLoad() machineLoad { return machineLoad{} }
