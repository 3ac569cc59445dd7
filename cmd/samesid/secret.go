package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"github.com/spf13/cobra"
)

const rotation = `To replace a secret, so that nobody is logged out:

 1. Put the new one last in secret, or last in secretFile, on all instances, those of Express
    too. They accept it now, and none signs with it yet.
 2. When all have it, put it first. Cookies are signed anew as they come.
 3. When a cookie's longest life has passed since then, drop the old one. Manager.SecretUses,
    or the metric of it, tells whether it is in use.

If the old one has leaked, give all instances the new one alone, at once, without these steps:
in 2, a cookie that a thief has signed is signed anew too. Everybody has to sign in again.`

func (a *app) secret() *cobra.Command {
	return &cobra.Command{
		Use:   "secret",
		Short: "Make a secret, and say how to put it in use",
		Long:  "secret prints 32 random bytes in base64url, which sign cookies. The steps go to standard error.\n\n" + rotation,
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var b [32]byte
			if _, err := rand.Read(b[:]); err != nil {
				return err
			}
			secret := base64.RawURLEncoding.EncodeToString(b[:])
			fmt.Fprintf(a.err, "%s\n\n", rotation)
			return a.print(map[string]string{"secret": secret}, "%s", secret)
		},
	}
}
