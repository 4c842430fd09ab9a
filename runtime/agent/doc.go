// Package agent runs an agent: it keeps what the agent sends and receives in the persistent activity buffer, carries it to
// and from the router, and runs the handlers. Generated code reaches it through package exchange; programs make an Agent
// with package sw4rm.
package agent
