// Package suites holds the simulated Azure to tests that others wrote: the live suites inside the modules of Azure's Go SDK.
package suites
