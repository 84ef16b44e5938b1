package azblob_test

import (
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/azblob"
	"understudy/internal/vault/blob/blobtest"
	"understudy/test/need"
)

func open(t testing.TB, server *need.Server, container string, create bool) (*azblob.Store, error) {
	return azblob.Open(t.Context(), azblob.Config{Account: server.User, Container: container, Prefix: "vaults/one", Key: server.Secret,
		Endpoint: "http://" + server.Address + "/" + server.User}, create)
}

func TestConformance(t *testing.T) {
	server := need.Blob(t)
	var n atomic.Int32
	blobtest.Run(t, func(t testing.TB) blob.Store {
		s, err := open(t, server, fmt.Sprintf("container-%d", n.Add(1)), true)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestNetwork(t *testing.T) {
	server := need.Blob(t)
	var n atomic.Int32
	blobtest.RunNetwork(t, func(t testing.TB, w *blobtest.Network) blob.Store {
		s, err := azblob.Open(t.Context(), azblob.Config{Account: server.User, Container: fmt.Sprintf("network-%d", n.Add(1)), Key: server.Secret,
			Endpoint: "http://" + server.Address + "/" + server.User, Transport: w}, true)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestOpen(t *testing.T) {
	server := need.Blob(t)
	if _, err := open(t, server, "none", false); dr.KindOf(err) != dr.KindNotFound || dr.Hint(err) == "" {
		t.Errorf("no container: %v", err)
	}
	wrong := *server
	wrong.Secret = base64.StdEncoding.EncodeToString([]byte("wrong"))
	if _, err := open(t, &wrong, "none", true); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
		t.Errorf("a wrong key: %v", err)
	}
}

func TestGrants(t *testing.T) {
	server := need.Blob(t)
	blobtest.RunGrants(t, func(t testing.TB) blob.Store {
		s, err := open(t, server, "grants", true)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
