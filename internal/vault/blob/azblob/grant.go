package azblob

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

var _ blob.Granter = (*Store)(nil)

// GrantRead implements blob.Granter.
func (s *Store) GrantRead(_ context.Context, name string, lifetime time.Duration) (blob.Grant, error) {
	return s.grant(http.MethodGet, name, lifetime, sas.BlobPermissions{Read: true}, nil)
}

// GrantCreate implements blob.Granter: who may create, and not write, cannot replace.
func (s *Store) GrantCreate(_ context.Context, name string, lifetime time.Duration) (blob.Grant, error) {
	return s.grant(http.MethodPut, name, lifetime, sas.BlobPermissions{Create: true}, http.Header{"X-Ms-Blob-Type": {"BlockBlob"}, "If-None-Match": {"*"}})
}

func (s *Store) grant(method, name string, lifetime time.Duration, may sas.BlobPermissions, header http.Header) (blob.Grant, error) {
	if err := blob.CheckName(name); err != nil {
		return blob.Grant{}, err
	}
	end := time.Now().Add(lifetime)
	url, err := s.blob(name).GetSASURL(may, end, nil)
	if err != nil {
		return blob.Grant{}, dr.WithHint(fmt.Errorf("grant %s: %w", name, err), dr.KindInvalid, "grants need the account's key: set AZURE_STORAGE_KEY")
	}
	return blob.Grant{Method: method, URL: url, Header: header, Expires: end}, nil
}
