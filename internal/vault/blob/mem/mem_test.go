package mem_test

import (
	"testing"

	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/blobtest"
	"understudy/internal/vault/blob/mem"
)

func TestConformance(t *testing.T) {
	blobtest.Run(t, func(testing.TB) blob.Store { return mem.New() })
}

func TestLocks(t *testing.T) {
	blobtest.RunLocks(t, blob.Compliance, func(testing.TB) blob.Store { return mem.New() })
}
