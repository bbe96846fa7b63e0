/** A certificate that signed itself, valid for a hundred years, for tests in which nobody speaks TLS with it. The key protects nothing. */
export const ownCertificate = `-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUC0fKMT+MB6iDRxomOOu+oaM/kVQwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjYxODQ2MDZaGA8yMTI2MTEwMjE4NDYw
NlowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPpX
snQU8cN1yTgP1uMb6WJpvZe/LKb2xatH4v+Lx8pOx3uVU0Ii9xp0S4uYteAKzBO7
MRjlU6DF+xvVndyZoVujUzBRMB0GA1UdDgQWBBTh75Wlb2CmaV99tH+hyPeFuFxV
CjAfBgNVHSMEGDAWgBTh75Wlb2CmaV99tH+hyPeFuFxVCjAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIE9wvp7eqUDbzFn0RXBsu14GTUGMVUaQorGH
f7+Gj+rEAiAtgc6pAd4Xne+pcRmk1QoRcLJ6oFT72qFJ9rr3irSy6Q==
-----END CERTIFICATE-----
`;
export const ownKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvgAxeSjFWWm9gI1M
9QHJeAmZsssp7bn023Ic2P8pKZihRANCAAT6V7J0FPHDdck4D9bjG+liab2Xvyym
9sWrR+L/i8fKTsd7lVNCIvcadEuLmLXgCswTuzEY5VOgxfsb1Z3cmaFb
-----END PRIVATE KEY-----
`;
