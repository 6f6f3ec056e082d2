package bus

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Agents know their coordinator by its certificate, which is made for one run: its pin goes with the address, and is no
// secret. Nothing is said to anybody else, least of all the token.

// pinPrefix names the hash that a pin is: of the certificate as it is sent (DER).
const pinPrefix = "sha256:"

// PinOf is the pin of a certificate.
func PinOf(der []byte) string {
	sum := sha256.Sum256(der)
	return pinPrefix + hex.EncodeToString(sum[:])
}

// ParsePin reads the hash in a pin.
func ParsePin(pin string) (sum []byte, err error) {
	digits, ok := strings.CutPrefix(pin, pinPrefix)
	if sum, err = hex.DecodeString(digits); err != nil || !ok || len(sum) != sha256.Size {
		return nil, fmt.Errorf("%q is no pin: it is %s and %d hexadecimal digits", pin, pinPrefix, 2*sha256.Size)
	}
	return sum, nil
}
