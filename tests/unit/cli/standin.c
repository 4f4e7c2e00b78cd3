/* SPDX-License-Identifier: Apache-2.0
 * standin.c - an empty libforkspan.so.
 */
extern int standin;
int standin;
