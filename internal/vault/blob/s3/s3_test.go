package s3_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/blobtest"
	"understudy/internal/vault/blob/s3"
	"understudy/test/need"
)

func open(t testing.TB, server *need.Server, bucket string, create bool) (*s3.Store, error) {
	return s3.Open(t.Context(), s3.Config{Bucket: bucket, Prefix: "vaults/one", Endpoint: server.Address, Insecure: true, Region: "us-east-1",
		Credentials: credentials.NewStaticV4(server.User, server.Secret, "")}, create)
}

func TestConformance(t *testing.T) {
	server := need.S3(t)
	var n atomic.Int32
	blobtest.Run(t, func(t testing.TB) blob.Store {
		s, err := open(t, server, fmt.Sprintf("bucket-%d", n.Add(1)), true)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestNetwork(t *testing.T) {
	server := need.S3(t)
	var n atomic.Int32
	blobtest.RunNetwork(t, func(t testing.TB, w *blobtest.Network) blob.Store {
		s, err := s3.Open(t.Context(), s3.Config{Bucket: fmt.Sprintf("network-%d", n.Add(1)), Endpoint: server.Address, Insecure: true, Region: "us-east-1",
			Credentials: credentials.NewStaticV4(server.User, server.Secret, ""), Transport: w}, true)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestOpen(t *testing.T) {
	server := need.S3(t)
	if _, err := open(t, server, "none", false); dr.KindOf(err) != dr.KindNotFound || dr.Hint(err) == "" {
		t.Errorf("no bucket: %v", err)
	}
	wrong := *server
	wrong.Secret = "wrong"
	if _, err := open(t, &wrong, "none", true); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
		t.Errorf("a wrong secret: %v", err)
	}
}

func TestGrants(t *testing.T) {
	server := need.S3(t)
	blobtest.RunGrants(t, func(t testing.TB) blob.Store {
		s, err := open(t, server, "grants", true)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
