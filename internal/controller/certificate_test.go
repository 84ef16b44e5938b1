package controller

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/dr"
)

func TestMadeCertificate(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	get := func(names ...string) []byte {
		t.Helper()
		m := &MadeCertificate{dir: dir, names: names, now: func() time.Time { return now }}
		cert, err := m.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := cert.Leaf.VerifyHostname(name); err != nil {
				t.Error(err)
			}
		}
		if data, err := os.ReadFile(filepath.Join(dir, CertificateFile)); err != nil || !bytes.Equal(first(data).Raw, cert.Leaf.Raw) {
			t.Errorf("the folder has another: %v", err)
		}
		return cert.Leaf.Raw
	}
	made := get("east", "127.0.0.1")
	if info, err := os.Stat(filepath.Join(dir, certificateKey)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v %v", info.Mode(), err)
	}
	now = now.Add(certificateLife - certificateRenew - time.Hour)
	if !bytes.Equal(get("127.0.0.1"), made) {
		t.Error("a certificate with more names than needed was not kept")
	}
	named := get("127.0.0.1", "west")
	if bytes.Equal(named, made) {
		t.Error("a certificate without one of the names was kept")
	}

	// What a kill between the two files leaves, and what serving with another certificate leaves.
	file := filepath.Join(dir, CertificateFile)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	get("west")
	other := &MadeCertificate{dir: t.TempDir(), names: []string{"west"}, now: func() time.Time { return now }}
	cert, err := other.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeCertificate(dir, *cert); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(get("west"), cert.Leaf.Raw) {
		t.Error("a certificate of another key was kept")
	}

	if err := os.WriteFile(filepath.Join(dir, certificateKey), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &MadeCertificate{dir: dir, names: []string{"west"}, now: func() time.Time { return now }}
	if _, err := m.Get(nil); dr.KindOf(err) != dr.KindCorrupt || dr.Hint(err) == "" {
		t.Errorf("a file that is no key: %v", err)
	}
}

// TestRenewWhileServing lets a certificate near its end in a controller that runs on.
func TestRenewWhileServing(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &MadeCertificate{dir: t.TempDir(), names: []string{"east"}, now: func() time.Time { return now }}
	old, err := m.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	now = old.Leaf.NotAfter.Add(-certificateRenew + time.Second)
	key := filepath.Join(m.dir, certificateKey)
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(key, 0o700); err != nil {
		t.Fatal(err)
	}
	if cert, err := m.Get(nil); err != nil || cert != old {
		t.Errorf("could not be renewed: %v", err)
	}
	if err := errors.Join(os.Remove(key), os.Rename(key+".away", key)); err != nil {
		t.Fatal(err)
	}
	renewed, err := m.Get(nil)
	if err != nil || renewed == old || !now.Before(renewed.Leaf.NotAfter.Add(-certificateRenew)) {
		t.Errorf("not renewed: %v", err)
	}
}
