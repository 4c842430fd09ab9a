package queuetest

import "testing"

func random(t *testing.T, open Open) {}
