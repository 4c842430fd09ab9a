// Package e2e has the tests of the whole: real processes, sockets and files. It has nothing else.
package e2e
