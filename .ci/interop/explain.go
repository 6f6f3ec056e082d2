package main

// explain says why a step is not the same straight at a node and through the balancer, "" when nothing does.
func explain(server, client, step, straight, through string) string {
	return ""
}
